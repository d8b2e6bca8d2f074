package main

import (
	"strings"

	"moltbot/ops/config"
)

// The steps are short; ops/docs/feishu.md and ops/docs/dingtalk.md have the whole.

const feishuScopes = "im:message.p2p_msg:readonly  im:message.group_at_msg:readonly  im:message:send_as_bot  im:message:readonly  im:message.reactions:write_only"

const feishuWebhookSteps = `
In the console (https://open.feishu.cn/app) / 在开发者后台:
 1. Add features > Bot                          添加应用能力 > 机器人
 2. Permissions / 权限管理:
      {scopes}
 3. Events & callbacks > Encryption strategy    事件与回调 > 加密策略: Encrypt Key (as in the configuration), Verification Token
 4. Event configuration > Send to developer's server    事件配置 > 将事件发送至开发者服务器:
      {url}
    (start moltbot first: Feishu calls the URL when you save it / 保存时会校验, 请先启动 moltbot)
 5. Add event / 添加事件: im.message.receive_v1 (接收消息 v2.0)
 6. Callback configuration, if cards are used / 回调配置 (使用卡片时): the same URL, card.action.trigger
 7. Create a version and publish it             创建版本并发布, 等待管理员审核; nothing above holds before that / 发布后才生效
Then: moltbot -c moltbot.yaml channel test feishu --url {base}
`

const feishuSocketSteps = `
In the console (https://open.feishu.cn/app) / 在开发者后台:
 1. Add features > Bot                          添加应用能力 > 机器人
 2. Permissions / 权限管理:
      {scopes}
 3. Event configuration > Long connection       事件配置 > 使用长连接接收事件
    (start moltbot first: it is saved only while a connection is open / 需先启动 moltbot 才能保存)
 4. Add event / 添加事件: im.message.receive_v1 (接收消息 v2.0)
 5. Create a version and publish it             创建版本并发布, 等待管理员审核; nothing above holds before that / 发布后才生效
No callback URL and no public address are needed / 不需要回调地址和公网地址
`

func feishuSteps(a config.Feishu, url string) string {
	text := feishuSocketSteps
	if a.Mode == config.ModeWebhook {
		text = feishuWebhookSteps
	}
	if strings.Contains(a.Endpoint, "larksuite") {
		text = strings.ReplaceAll(text, "open.feishu.cn", "open.larksuite.com")
	}
	return strings.NewReplacer("{url}", url, "{base}", baseOf(url), "{scopes}", feishuScopes).Replace(text)
}

const dingtalkWebhookSteps = `
In the console (https://open-dev.dingtalk.com) / 在开发者后台:
 1. Your application > Add features > Robot      应用能力 > 添加应用能力 > 机器人
 2. Message receive mode > HTTP                  消息接收模式 > HTTP 模式:
      {url}
 3. Permissions / 权限管理: qyapi_robot_sendmsg (企业内机器人发送消息权限)
 4. Security > outgoing IPs of your servers      安全设置 > 服务器出口 IP (要求 IP 白名单时)
 5. Create a version and publish it              版本管理与发布; before that senders have no staff id / 发布前没有 staffId
 6. Add the robot to groups                      在群设置中添加机器人
Then: moltbot -c moltbot.yaml channel test dingtalk --url {base}
`

const dingtalkStreamSteps = `
In the console (https://open-dev.dingtalk.com) / 在开发者后台:
 1. Your application > Add features > Robot      应用能力 > 添加应用能力 > 机器人
 2. Message receive mode > Stream                消息接收模式 > Stream 模式
 3. Permissions / 权限管理: qyapi_robot_sendmsg (企业内机器人发送消息权限)
 4. Create a version and publish it              版本管理与发布; before that senders have no staff id / 发布前没有 staffId
 5. Add the robot to groups                      在群设置中添加机器人
Open towards / 出站放行: api.dingtalk.com, oapi.dingtalk.com, wss-open-connection.dingtalk.com (443)
No callback URL and no public address are needed / 不需要回调地址和公网地址
`

func dingtalkSteps(a config.DingTalk, url string) string {
	text := dingtalkStreamSteps
	if a.Mode == config.ModeWebhook {
		text = dingtalkWebhookSteps
	}
	return strings.NewReplacer("{url}", url, "{base}", baseOf(url)).Replace(text)
}

// baseOf is what "channel test" makes the same URL of.
func baseOf(url string) string {
	base, _, _ := strings.Cut(url, "/dingtalk/webhook")
	base, _, _ = strings.Cut(base, "/feishu/webhook")
	return base
}
